"""Reserved for the roles as real processes. Not written yet: every protocol plays all its roles in one process."""
