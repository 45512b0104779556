# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/run measures and how. Standard library only."""
