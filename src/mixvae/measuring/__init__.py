"""Rules evaluate and latents: what a trained model's likelihood and codes are worth."""
