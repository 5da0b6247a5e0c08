"""Clips of a Sawyer arm that pushes things about in a bin: MuJoCo, with the meshes that metaworld packages."""
