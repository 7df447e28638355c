// SPDX-License-Identifier: Apache-2.0
// C, with _GNU_SOURCE. Loops of fstapi.c over the characters '0' and '1' of a value, eight at a time; for
// little-endian hosts, which poolsim needs anyway (mm/sparse_store.h). waveforms/CMakeLists.txt puts the
// calls into a copy of it.
#ifndef POOLSIM_FST_WORDS_H
#define POOLSIM_FST_WORDS_H
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/// Puts them as bits before `*to`, the first as the highest bit of the first byte, and moves `*to` to where
/// they begin. Zero: there is another character among them, and `*to` is where it was.
static inline int fst_pack_bits(unsigned char** to, const unsigned char* p, uint32_t length) {
  unsigned char* const begin = *to - (length + 7) / 8;
  unsigned char* out = begin;
  uint64_t other = 0;
  for (; length >= 8; p += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    other |= (word & 0xfefefefefefefefeu) ^ 0x3030303030303030u;
    *out++ = (unsigned char)((word & 0x0101010101010101u) * 0x8040201008040201u >> 56);
  }
  if (length != 0) {
    unsigned char last = 0;
    for (uint32_t bit = 0; bit < length; ++bit) {
      other |= (p[bit] & 0xfeu) ^ 0x30u;
      last |= (unsigned char)((p[bit] & 1) << (7 - bit));
    }
    *out = last;
  }
  if (other != 0) return 0;
  *to = begin;
  return 1;
}

/// fwrite() without a lock, a few bytes without a call: one thread writes a file.
static inline size_t fst_fwrite(const void* from, size_t size, size_t count, FILE* file) {
  const unsigned char* p = (const unsigned char*)from;
  if (size * count > 8) return fwrite_unlocked(from, size, count, file);
  for (const unsigned char* end = p + size * count; p != end; ++p) {
    if (putc_unlocked(*p, file) == EOF) return 0;
  }
  return count;
}
#define fwrite fst_fwrite
#endif
