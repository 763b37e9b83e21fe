// For tests, fuzzers and timing programs: what cannot go wrong there, or the rest makes no sense.
#pragma once

#include <stdexcept>
#include <type_traits>
#include <utility>

#include "common/base/result.h"

namespace roamstead::support {

// The value; throws std::runtime_error with the error's text where there is none.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace roamstead::support
