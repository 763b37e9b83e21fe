// What a scan asks of an item, by its name in an open directory. Two implementations, as of ItemPort: Windows
// (windows_scan), and Wine, whose files are those of a mounted Linux file system (wine_scan).
#pragma once

#include <windows.h>

#include <memory>
#include <string>

#include "agent/scan/scan_source.h"

namespace roamstead::agent {

// Thread-safe. Errors as ScanSource's. "." stands for the directory itself.
class ScanPort {
 public:
  virtual ~ScanPort() = default;
  // The directory was opened for this call alone: an open one remembers how far it was read.
  virtual Result<std::vector<ScannedItem>> list(HANDLE directory, const std::string& what) = 0;
  virtual Result<ScannedItem> look(HANDLE directory, const std::wstring& name) = 0;
  virtual Result<ItemDetails> details(HANDLE directory, const std::wstring& name) = 0;
};

std::unique_ptr<ScanPort> make_windows_scan();
// The test environment's: what ntfs-3g tells by stat and by its attributes. Only where win::under_wine().
std::unique_ptr<ScanPort> make_wine_scan();

}  // namespace roamstead::agent
