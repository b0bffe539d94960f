"""The ground the services run on: broker, databases, topics, processes."""
