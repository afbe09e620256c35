"""What connects the recipes to a Hub: pushing, pulling, manifests, and a Hub of our own."""
