// SPDX-License-Identifier: Apache-2.0
// C, with _GNU_SOURCE. fstapi.c keeps each changed value as characters, '0' and '1', until it writes a block. Ours have no
// other digits: here it keeps and moves them as bits, eight a byte, the first digit highest. waveforms/CMakeLists.txt puts
// the calls into a copy of it; waveforms/fst.cpp hands the values over like this (POOLSIM_FST_BITS).
#ifndef POOLSIM_FST_WORDS_H
#define POOLSIM_FST_WORDS_H
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "waveforms/fst_change.h"

/// Bytes of a value of `length` digits. One digit alone stays a character.
static inline uint32_t fst_kept_bytes(uint32_t length) { return length == 1 ? 1 : (length + 7) / 8; }

/// memcpy() of at most 8 bytes, without a call or a loop.
static inline void fst_copy(unsigned char* to, const unsigned char* from, uint32_t bytes) {
  if (bytes & 8) memcpy(to, from, 8);
  if (bytes & 4) memcpy(to, from, 4);
  if (bytes & 2) memcpy(to + (bytes & 4), from + (bytes & 4), 2);
  if (bytes & 1) to[bytes - 1] = from[bytes - 1];
}

/// Of a change, at `to`, where 13 bytes are free: the number of times since the signal's previous one, then the value's
/// digits. Returns where these begin.
static inline unsigned char* fst_keep(unsigned char* to, uint32_t times, uint64_t digits) {
  for (; times >= 0x80; times >>= 7) *to++ = (unsigned char)(times | 0x80);
  *to++ = (unsigned char)times;
  memcpy(to, &digits, 8);
  return to;
}

/// The same of digits somewhere, with where the previous one is before it, for any room that fstapi makes. Returns the bytes
/// of all.
static inline uint32_t fst_keep_from(unsigned char* to, const uint32_t* previous, uint32_t times,
                                     const unsigned char* from, uint32_t length) {
  unsigned char kept[17];
  uint64_t digits;
  memcpy(&digits, from, 8);
  memcpy(kept, previous, 4);
  const uint32_t bytes = (uint32_t)(fst_keep(kept + 4, times, digits) - kept) + fst_kept_bytes(length);
  memcpy(to, kept, bytes);
  return bytes;
}

/// Puts a kept value before `*to` and moves `*to` to where it begins.
static inline void fst_put_bits(unsigned char** to, const unsigned char* p, uint32_t length) {
  const uint32_t bytes = (length + 7) / 8;
  *to -= bytes;
  fst_copy(*to, p, bytes);
}

/// The digits as characters.
static inline void fst_digits(unsigned char* to, const unsigned char* p, uint32_t length) {
  for (uint32_t digit = 0; digit < length; ++digit) to[digit] = '0' + (p[digit / 8] >> (7 - digit % 8) & 1);
}

/// fwrite() without a lock: one thread writes a file.
#define fwrite fwrite_unlocked

/// A variable-length number, without a call. Returns its bytes.
static inline int fst_put_varint(FILE* file, uint64_t v) {
  int bytes = 1;
#ifdef __GLIBC__
  /* Three or four bytes hold a step of 16 ps to 268 ns: one store into the file's buffer, where putc_unlocked() puts its
     one byte, too. */
  if (v - (1u << 14) < (1u << 28) - (1u << 14) && file->_IO_write_end - file->_IO_write_ptr >= 4) {
    const uint32_t w = (uint32_t)v;
    const uint32_t sevens = (w & 0x7f) | (w & 0x3f80) << 1 | (w & 0x1fc000) << 2 | (w & 0xfe00000) << 3;
    const uint32_t all = sevens | (w < 1u << 21 ? 0x8080 : 0x808080);
    bytes = w < 1u << 21 ? 3 : 4;
    memcpy(file->_IO_write_ptr, &all, 4);
    file->_IO_write_ptr += bytes;
    return bytes;
  }
#endif
  for (; v >= 0x80; v >>= 7, ++bytes) putc_unlocked((int)(v & 0x7f) | 0x80, file);
  putc_unlocked((int)v, file);
  return bytes;
}
#endif
