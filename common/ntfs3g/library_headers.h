// libntfs-3g's headers, tamed. Included by the sources of this module only.
#pragma once

// What they take as included, and what must come before their macros min and max.
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <memory>
#include <ranges>
#include <string>

extern "C" {
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/reparse.h>
#include <ntfs-3g/security.h>
#include <ntfs-3g/volume.h>
}

#undef min
#undef max
