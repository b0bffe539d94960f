"""The published language: one class per topic, the topics themselves, the HTTP bodies and the problem codes."""
