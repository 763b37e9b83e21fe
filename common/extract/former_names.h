// Names that files had between two snapshots, as the volume's change journal ($UsnJrnl) tells. A hint, never
// the truth: it says which lost file a new one may have most of its bytes from, and a wrong guess costs
// bytes that travel in vain.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/ntfs/volume.h"

namespace roamstead::extract {

struct FormerName {
  ntfs::FileReference parent;
  std::string name;
};

// Not thread-safe. The journal is read when it is asked for the first time, and only what was added to it
// between the snapshots; a journal that is not there, or is damaged, knows nothing.
class FormerNames {
 public:
  // Both must outlive this object.
  FormerNames(const ntfs::Volume& now, const ntfs::Volume& before) : now_(now), before_(before) {}

  // The latest first.
  const std::vector<FormerName>& of(const ntfs::FileReference& file);

 private:
  void read();

  const ntfs::Volume& now_;
  const ntfs::Volume& before_;
  bool read_ = false;
  std::map<ntfs::FileReference, std::vector<FormerName>> names_;
};

}  // namespace roamstead::extract
