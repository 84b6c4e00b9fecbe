"""What a source holds of what the nomogram needs: asked before anything is installed."""
