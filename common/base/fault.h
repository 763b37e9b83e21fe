// Named places in durable operations where a test can make something go wrong.
#pragma once

#include <functional>
#include <string_view>

#include "common/base/result.h"

namespace roamstead {

// Passed to whoever performs durable operations. The default does nothing. A hook may return an error, block,
// or end the process; it is called on the thread that performs the operation.
class Faults {
 public:
  using Hook = std::function<Result<void>(std::string_view point)>;

  Faults() = default;
  explicit Faults(Hook hook) : hook_(std::move(hook)) {}

  Result<void> check(std::string_view point) const { return hook_ ? hook_(point) : Result<void>{}; }

  // From ROAMSTEAD_FAULT="point=kill", "point=error" or "point=delay:MS", comma-separated; "point#3=kill"
  // acts on the third time the point is reached. Used by the tests that kill whole processes.
  static Result<Faults> from_environment();

 private:
  Hook hook_;
};

}  // namespace roamstead
