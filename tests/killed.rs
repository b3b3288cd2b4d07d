//! A run that is killed loses nothing; one that is asked to stop ends in good order.
