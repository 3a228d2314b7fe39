"""The compute pool beside its peers: what each measures, each in a process of its own."""
