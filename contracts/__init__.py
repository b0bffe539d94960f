"""The published language: one class per topic, the topics, the HTTP bodies and the problem codes."""
