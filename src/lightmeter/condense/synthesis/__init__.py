"""Pictures made from prototypes by a text-to-image diffusion model: a small one that learns the set, or the user's."""
