"""Observation -> Plan: camera encoder, memory, experts, heads; and the same as ONNX."""
