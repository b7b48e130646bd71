// tanh over a body's `Vec`, see network.inl.h. Include inside an unnamed namespace.

// Absolute error at most 1.2e-7: tanh |v| = (1 - e) / (1 + e) with e = exp(-2 |v|) = 2^n 2^f.
inline __attribute__((always_inline)) Vec Tanh(Vec v) {
  const Vec one = Vec::Broadcast(1.0f);
  const Vec exponent = Vec::Min(Vec::Abs(v), Vec::Broadcast(10.0f)) * Vec::Broadcast(-2.8853900817779268f);
  const Vec magic = Vec::Broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  const Vec shifted = exponent + magic;
  const Vec f = exponent - (shifted - magic);
  Vec power = Vec::Broadcast(1.534580215e-04f);  // 2^f on [-1/2, 1/2], relative error 2e-9
  power = Vec::Fma(power, f, Vec::Broadcast(1.339993114e-03f));
  power = Vec::Fma(power, f, Vec::Broadcast(9.618488994e-03f));
  power = Vec::Fma(power, f, Vec::Broadcast(5.550328777e-02f));
  power = Vec::Fma(power, f, Vec::Broadcast(2.402264689e-01f));
  power = Vec::Fma(power, f, Vec::Broadcast(6.931472057e-01f));
  power = Vec::Fma(power, f, one);
  const Vec e = Vec::AddBits(power, Vec::ShiftLeft23(shifted));
  return Vec::CopySign((one - e) / (one + e), v);
}
