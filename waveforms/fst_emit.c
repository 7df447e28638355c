// SPDX-License-Identifier: Apache-2.0
// Included at the end of the copy of fstapi.c (waveforms/CMakeLists.txt), whose context it knows.

/// fstWriterEmitValueChange() for what is nearly always the case: a value kept as bits (fst_words.h), room for it, not
/// before the first time.
void fst_emit_bits(void *ctx, fstHandle handle, uint64_t digits) {
  struct fstWriterContext *const xc = (struct fstWriterContext *)ctx;
  const uint32_t at = xc->vchg_siz;
  if (FST_UNLIKELY(!xc->valpos_mem || xc->is_initial_time || at + 64 + 10 > xc->vchg_alloc_siz)) {
    fstWriterEmitValueChange(ctx, handle, &digits);
    return;
  }
  uint32_t *const signal = &xc->valpos_mem[4 * (handle - 1)];
  xc->vchg_siz = at + fst_keep(xc->vchg_mem + at, &signal[2], xc->tchn_idx - signal[3], digits, signal[1]);
  signal[3] = xc->tchn_idx;
  signal[2] = at;
}
