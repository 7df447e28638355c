// SPDX-License-Identifier: Apache-2.0
// Included at the end of the copy of fstapi.c (waveforms/CMakeLists.txt), whose context it knows.

/// The digits of a value as they are kept, the highest first; one alone is a character.
static inline uint64_t fst_digits_of(const struct fst_signal *s, uint64_t value) {
  return s->digits == 1 ? '0' + (value & 1) : __builtin_bswap64(value << (64 - s->digits));
}

/// fstWriterEmitValueChange() of each; after the first time, before which fstapi would take characters.
void fst_emit_each(void *ctx, const struct fst_signal *signals, const struct fst_change *changes, size_t n) {
  const struct fst_change *const end = changes + n;
  for (; changes != end; ++changes) {
    const struct fst_signal *const s = &signals[changes->signal];
    const uint64_t digits = fst_digits_of(s, changes->value);
    fstWriterEmitValueChange(ctx, s->handle, &digits);
  }
}

/// fstWriterEmitTimeChange() and fstWriterEmitValueChange() for what is nearly always the case: values kept as bits
/// (fst_words.h), room for them, no block to be written, not before the first time.
void fst_emit_changes(void *ctx, uint64_t time, const struct fst_signal *signals, const struct fst_change *changes,
                      size_t n) {
  struct fstWriterContext *const xc = (struct fstWriterContext *)ctx;
  const struct fst_change *const end = changes + n;
  if (FST_UNLIKELY(!xc->valpos_mem || xc->is_initial_time || xc->vchg_siz >= xc->fst_break_size ||
                   xc->flush_context_pending || xc->vchg_siz + n * (64 + 10) > xc->vchg_alloc_siz)) {
    fstWriterEmitTimeChange(ctx, time);
    fst_emit_each(ctx, signals, changes, n);
    return;
  }
  fst_put_varint(xc->tchn_handle, time - xc->curtime);
  xc->curtime = time;
  xc->tchn_cnt++;
  xc->tchn_idx++;
  /* Nothing that is written here moves the tables. */
  unsigned char *const all = xc->vchg_mem;
  unsigned char *to = all + xc->vchg_siz;
  uint32_t *const positions = xc->valpos_mem;
  const uint32_t times = xc->tchn_idx;
  for (; changes != end; ++changes) {
    const struct fst_signal *const s = &signals[changes->signal];
    uint32_t *const signal = &positions[s->position];
    const uint32_t at = (uint32_t)(to - all), since = times - signal[3];
    memcpy(to, &signal[2], 4);
    signal[2] = at;
    signal[3] = times;
    to = fst_keep(to + 4, since, fst_digits_of(s, changes->value)) + s->kept_bytes;
  }
  xc->vchg_siz = (uint32_t)(to - all);
}
