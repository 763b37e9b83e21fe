// Wine, where it is not what Windows is.
#pragma once

#include <string>

namespace roamstead::win {

bool under_wine();
std::string wine_version();  // "8.0"; "" on Windows

}  // namespace roamstead::win
