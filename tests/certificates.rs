//! Who the receiver is and who we are: versions, key formats, and errors that say what to do.
