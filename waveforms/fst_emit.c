// SPDX-License-Identifier: Apache-2.0
// Included at the end of the copy of fstapi.c (waveforms/CMakeLists.txt), whose context it knows.

/// The digits of a value as they are kept, the highest first; one alone is a character.
static inline uint64_t fst_digits_of(const struct fst_signal *s, uint64_t value) {
  return s->digits == 1 ? '0' + (value & 1) : __builtin_bswap64(value << (64 - s->digits));
}

/// fstWriterEmitValueChange() for what is nearly always the case: values kept as bits (fst_words.h), room for them, not
/// before the first time.
void fst_emit_changes(void *ctx, const struct fst_signal *signals, const struct fst_change *changes, size_t n) {
  struct fstWriterContext *const xc = (struct fstWriterContext *)ctx;
  const struct fst_change *const end = changes + n;
  if (FST_UNLIKELY(!xc->valpos_mem || xc->is_initial_time || xc->vchg_siz + n * (64 + 10) > xc->vchg_alloc_siz)) {
    for (; changes != end; ++changes) {
      const struct fst_signal *const s = &signals[changes->signal];
      const uint64_t digits = fst_digits_of(s, changes->value);
      fstWriterEmitValueChange(ctx, s->handle, &digits);
    }
    return;
  }
  unsigned char *to = xc->vchg_mem + xc->vchg_siz;
  uint32_t *const positions = xc->valpos_mem - 4; /* handles begin with 1 */
  const uint32_t times = xc->tchn_idx;
  for (; changes != end; ++changes) {
    const struct fst_signal *const s = &signals[changes->signal];
    uint32_t *const signal = &positions[4 * s->handle];
    const uint32_t at = (uint32_t)(to - xc->vchg_mem);
    to += fst_keep(to, &signal[2], times - signal[3], fst_digits_of(s, changes->value), s->kept_bytes);
    signal[2] = at;
    signal[3] = times;
  }
  xc->vchg_siz = (uint32_t)(to - xc->vchg_mem);
}
