// TOML for a parser that meets some characters beyond ASCII with undefined behaviour: it is given none.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"

namespace roamstead::config {

// The same TOML in ASCII, line for line: in texts within double quotes other characters are escaped, in
// comments they become '?'. Errors begin with "SOURCE:LINE: ": control characters but tab and line ends,
// which TOML does not allow; what is no UTF-8; and characters beyond ASCII anywhere else, also in texts
// within single quotes, which have no escapes.
Result<std::string> ascii_toml(std::string_view text, const std::string& source);

}  // namespace roamstead::config
