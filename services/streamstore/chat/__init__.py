"""Chat: channels whose messages keep their order, their history, and the browsers that listen."""

import sqlalchemy as sa

NAME = "chat"
METADATA = sa.MetaData()
