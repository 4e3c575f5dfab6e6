"""Visual representations: frames to latents and back."""
