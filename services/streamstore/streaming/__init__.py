"""What delivery tracking and the chat share: a topic's history in a database, and its newest in memory."""
