// SPDX-License-Identifier: Apache-2.0
#include "base/file.hpp"

#include <sys/statfs.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>

namespace trainctl::base {

namespace {

// f_type of statfs(2), from linux/magic.h and, for those outside the kernel tree, from the file systems' own sources.
constexpr std::array<std::uint32_t, 16> kNetworkMagic = {
    0x6969,      // NFS
    0x517B,      // SMB
    0xFF534D42,  // CIFS
    0xFE534D42,  // SMB2
    0x0BD00BD0,  // Lustre
    0x47504653,  // GPFS
    0x00C36400,  // Ceph
    0x5346414F,  // AFS
    0x73757245,  // Coda
    0x564C,      // NCP
    0x01021997,  // 9P
    0x19830326,  // BeeGFS
    0x20030528,  // OrangeFS (PVFS2)
    0xAAD7AAEA,  // PanFS
    0x01161970,  // GFS2
    0x65735546,  // FUSE: sshfs, gcsfuse, … cannot be told apart, so all count as remote
};

}  // namespace

bool is_network_file_system(const fs::path& path) {
  struct statfs info{};
  // A path that is still to be made lies on the file system of its nearest existing parent.
  fs::path at = path.empty() ? fs::path(".") : path;
  while (::statfs(at.c_str(), &info) != 0) {
    const fs::path parent = at.parent_path();
    if (parent == at) return false;
    at = parent.empty() ? fs::path(".") : parent;
    if (parent.empty() && ::statfs(".", &info) != 0) return false;
  }
  const auto magic = static_cast<std::uint32_t>(info.f_type);  // signed or 64 bit by architecture; magic has 32
  return std::find(kNetworkMagic.begin(), kNetworkMagic.end(), magic) != kNetworkMagic.end();
}

}  // namespace trainctl::base
