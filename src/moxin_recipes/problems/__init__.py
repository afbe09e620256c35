"""Problems with answers, made by programs."""
