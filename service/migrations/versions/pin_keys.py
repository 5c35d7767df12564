"""PINs come as keys that devices made of them: no salt is kept any more."""

import sqlalchemy as sa
from alembic import op

from protocols.base import ConfigurationError

revision = "pin_keys"
down_revision = "tables"


def upgrade() -> None:
    """Drop the salts. Raises ConfigurationError for cases whose persons would be locked out."""
    cases = sa.table("cases", sa.column("status"))
    if op.get_bind().scalar(sa.select(sa.func.count()).select_from(cases).where(cases.c.status != "deleted")):
        raise ConfigurationError(
            "database: it has cases whose PINs an earlier version kept, and this one cannot check them; withdraw them"
            " under that version, or start with an empty database"
        )
    op.drop_column("cases", "pin_salt")
