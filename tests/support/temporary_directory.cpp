#include "tests/support/temporary_directory.h"

#include <filesystem>
#include <stdexcept>

#include "common/base/guid.h"

namespace roamstead::support {

TemporaryDirectory::TemporaryDirectory()
    : path_((std::filesystem::temp_directory_path() / ("roamstead-test-" + Guid::random().to_string()))
                .generic_string()) {
  if (!std::filesystem::create_directory(path_)) throw std::runtime_error("cannot make " + path_);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace roamstead::support
