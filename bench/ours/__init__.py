"""The services themselves, run as they are, entered at their actions."""
