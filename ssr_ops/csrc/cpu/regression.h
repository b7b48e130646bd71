// The operator's CPU kernels, one function per implementation; arguments are validated by the caller.
#pragma once

#include "ssr/params.h"

namespace ssr::cpu {

void RegressPortable(const RegressionForward<float>& params);
void RegressPortable(const RegressionForward<double>& params);
void RegressPortable(const RegressionBackward<float>& params);
void RegressPortable(const RegressionBackward<double>& params);

// Stages (3, 3, 3) only.
void RegressAvx2(const RegressionForward<float>& params);
void RegressAvx2(const RegressionForward<double>& params);
void RegressAvx2(const RegressionBackward<float>& params);
void RegressAvx2(const RegressionBackward<double>& params);
void RegressAvx512(const RegressionForward<float>& params);
void RegressAvx512(const RegressionForward<double>& params);
void RegressAvx512(const RegressionBackward<float>& params);
void RegressAvx512(const RegressionBackward<double>& params);

}  // namespace ssr::cpu
