// SPDX-License-Identifier: Apache-2.0
// What C++ (fst.cpp) and C (fst_emit.c) hand to each other.
#ifndef POOLSIM_FST_CHANGE_H
#define POOLSIM_FST_CHANGE_H
#include <stdint.h>

/// fstapi's handle of a signal, its place in fstapi's table of positions (words), its number of digits, and how many bytes
/// of a value are kept (fst_words.h).
struct fst_signal {
  uint32_t handle, position, digits, kept_bytes;
};
/// A new value of the signal of that number.
struct fst_change {
  uint32_t signal;
  uint64_t value;
};
#endif
