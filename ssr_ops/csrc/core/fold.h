// What every engine prepares from a model: batch norm folded into convolutions, and the promise that no
// picture can overflow float32.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/head.h"
#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr {

// Weights OIHW with the batch norm's scale multiplied in, and the bias that is left.
struct FoldedConvolution {
  std::vector<float> weights, bias;
};

// stream: 'x' or 's'; block: 0..3.
FoldedConvolution Fold(const Model& model, char stream, int block);

// kInvalidArgument naming the layer whose values could leave float32's range for some picture, so that
// whatever passes here never yields NaN or infinity, in any precision. Bounds every layer by the sum of its
// weights' sizes.
Status CheckRange(const Model& model);

const Tensor& Parameter(const Model& model, const std::string& name);

// Points into the model's parameters.
Head MakeHead(const Model& model);

}  // namespace ssr
