"""Makes the verifier: from labelled pairs and the embedder's weights to what `app` runs."""
