"""This machine: devices, processor, memory, processes, versions, JSON lines."""
