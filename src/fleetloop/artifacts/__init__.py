"""The artifacts the loop exchanges: schema, writer, reader and lineage of each; the one table of channels."""
