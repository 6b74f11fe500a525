"""Delivery tracking: where the couriers are, and where they were."""

import sqlalchemy as sa

NAME = "delivery_tracking"
METADATA = sa.MetaData()
