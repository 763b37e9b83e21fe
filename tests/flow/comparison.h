// Whether two desktops' volumes and the model agree on what a profile holds.
#pragma once

#include <string>
#include <vector>

#include "common/ntfs3g/library_volume.h"
#include "tests/flow/profile_model.h"

namespace roamstead::flow {

// Compares the volume's profile with the model: names, kinds, content of all streams; metadata of what was
// not changed. `loaded` says whether an item's content is expected on the volume. Returns differences, at
// most a hundred.
using IsLoaded = std::function<bool(const ntfs3g::FileReference&)>;
Result<std::vector<std::string>> compare_with_model(ntfs3g::LibraryVolume& volume, const std::string& root,
                                                    const ProfileModel& model, const IsLoaded& loaded);
// Names, kinds, sizes, times, attributes, security, streams.
Result<std::vector<std::string>> compare_metadata(ntfs3g::LibraryVolume& first, ntfs3g::LibraryVolume& second,
                                                  const std::string& root);

}  // namespace roamstead::flow
