"""The roles as real processes: storage, cases, HTTP. The protocol's code is protocols/scan's; nothing is done twice."""
