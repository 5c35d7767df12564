"""The roles as real processes: storage, cases, HTTP. The protocol's code is protocols/scan's; nothing is done twice.

    cli, cli_setup, up          commands; a whole deployment on one machine
    client                      a person's device
    exchange, steward           people's and platforms' questions; the exchange's own work, which drives the members
    cases, sightings, pins      the life of a case in the exchange's database
    member, steps               a member, and which of its methods may be called
    checker, uploads, folder, hook    a platform: files to queries, scans, takedown calls
    rechecks, running           what it found lately; its process, for its commands
    role, config, agreement     what every role is made of; settings; keys, manifest and their signatures
    letters, remote             what passes through others, sealed; members as objects to whoever drives
    web, endpoints, bodies, openapi, requests, nonces, peer, limits    signed HTTP, both sides
    storage, models, migrations, atrest    the database, and what is sealed in it
    metrics, logs, errors, messages

docs/cases.md says who drives what, and what is NOT protected; docs/deploying.md how to run it.
"""
