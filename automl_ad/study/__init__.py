"""One search over one folder of good images: its settings, its life cycle and what can be asked of it afterwards."""
