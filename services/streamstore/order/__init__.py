"""The order service: takes orders from files (`outbox`) and over HTTP (`api`), and knows their state (`view`)."""

import sqlalchemy as sa

NAME = "order"
METADATA = sa.MetaData()
