//! What the stories share: a copied fixture, the tool built once, its outputs read back.
