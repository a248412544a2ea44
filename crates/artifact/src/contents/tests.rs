//! Every layout in use, by bytes: which module is taken, and what is refused.
