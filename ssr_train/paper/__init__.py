"""The tables and figures of the SSR-Net paper, one module each: trained or counted here, and put beside the
paper's own numbers."""
