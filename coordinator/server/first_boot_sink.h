#pragma once

#include <functional>
#include <string>

#include "common/wire/first_boot.h"

namespace roamstead::server {

// Takes note of what a desktop says of its first start. Called on a request thread.
using FirstBootSink = std::function<Result<void>(const std::string& desktop, const wire::FirstBootReport&)>;

}  // namespace roamstead::server
