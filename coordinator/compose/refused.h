// What is wrong with something an administrator wrote.
#pragma once

#include <string>
#include <utility>

#include "common/base/result.h"

namespace roamstead::compose {

inline tl::unexpected<Error> refused(std::string what) {
  return fail(ErrorCode::invalid_argument, std::move(what));
}

}  // namespace roamstead::compose
