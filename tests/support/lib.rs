//! Black-box tests of the whole system; see the files beside this one.
